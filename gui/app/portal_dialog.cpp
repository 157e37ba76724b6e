// The interface: https://flatpak.github.io/xdg-desktop-portal (org.freedesktop.portal.FileChooser,
// org.freedesktop.portal.Request). OpenFile answers at once with the path of a request object; the
// choice arrives later as that object's Response signal, for which one listens beforehand.
#include "gui/app/portal_dialog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <stop_token>
#include <thread>

#ifdef LS_HAVE_DBUS
#include <dbus/dbus.h>
#endif

namespace layerscope::gui {
namespace {

std::optional<int> hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? std::optional<int>(lower - 'a' + 10) : std::nullopt;
}

}  // namespace

Result<std::string> path_of_uri(std::string_view uri) {
  constexpr std::string_view kScheme = "file://";
  if (!uri.starts_with(kScheme)) {
    return invalid_input(fmt::format("{} is no file of this machine", uri));
  }
  std::string_view rest = uri.substr(kScheme.size());
  constexpr std::string_view kLocal = "localhost/";
  if (rest.starts_with(kLocal)) {
    rest.remove_prefix(kLocal.size() - 1);
  }
  if (!rest.starts_with('/')) {
    return invalid_input(fmt::format("{} is on another machine", uri));
  }
  std::string path;
  for (std::size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] != '%') {
      path += rest[i];
      continue;
    }
    const auto high = i + 2 < rest.size() ? hex_digit(rest[i + 1]) : std::nullopt;
    const auto low = i + 2 < rest.size() ? hex_digit(rest[i + 2]) : std::nullopt;
    if (!high || !low || *high * 16 + *low == 0) {
      return invalid_input(fmt::format("{} is badly encoded", uri));
    }
    path += static_cast<char>(*high * 16 + *low);
    i += 2;
  }
  return path;
}

#ifdef LS_HAVE_DBUS

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kService = "org.freedesktop.portal.Desktop";
constexpr const char* kObject = "/org/freedesktop/portal/desktop";
constexpr const char* kChooser = "org.freedesktop.portal.FileChooser";
constexpr const char* kRequest = "org.freedesktop.portal.Request";
constexpr int kSlice = 50;  ///< milliseconds between two looks at the stop token
/// The bus may have to start the portal first; past this it counts as absent.
constexpr std::chrono::seconds kPatience{8};

struct MessageDeleter {
  void operator()(DBusMessage* message) const { dbus_message_unref(message); }
};
using Message = std::unique_ptr<DBusMessage, MessageDeleter>;

struct ConnectionDeleter {
  void operator()(DBusConnection* connection) const {
    dbus_connection_close(connection);
    dbus_connection_unref(connection);
  }
};
using Connection = std::unique_ptr<DBusConnection, ConnectionDeleter>;

class BusError {
 public:
  BusError() { dbus_error_init(&error_); }
  ~BusError() { dbus_error_free(&error_); }
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;
  DBusError* get() { return &error_; }
  [[nodiscard]] std::string text() const {
    return error_.message != nullptr ? error_.message : "unknown reason";
  }

 private:
  DBusError error_{};
};

/// A container of a message under construction; closed at the end of its scope.
class Container {
 public:
  Container(DBusMessageIter* parent, int type, const char* signature) : parent_(parent) {
    dbus_message_iter_open_container(parent, type, signature, &iter);
  }
  ~Container() { dbus_message_iter_close_container(parent_, &iter); }
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;
  void string(const char* value) {
    dbus_message_iter_append_basic(&iter, DBUS_TYPE_STRING, static_cast<const void*>(&value));
  }
  void number(std::uint32_t value) {
    dbus_message_iter_append_basic(&iter, DBUS_TYPE_UINT32, &value);
  }
  DBusMessageIter iter{};

 private:
  DBusMessageIter* parent_;
};

/// One entry of a{sv}; `write` fills the variant of `signature`.
template <typename Write>
void option(Container& options, const char* name, const char* signature, const Write& write) {
  Container entry(&options.iter, DBUS_TYPE_DICT_ENTRY, nullptr);
  entry.string(name);
  Container variant(&entry.iter, DBUS_TYPE_VARIANT, signature);
  write(variant);
}

void filter(Container& filters, const char* name, std::initializer_list<const char*> globs) {
  Container entry(&filters.iter, DBUS_TYPE_STRUCT, nullptr);
  entry.string(name);
  Container list(&entry.iter, DBUS_TYPE_ARRAY, "(us)");
  for (const char* glob : globs) {
    Container pair(&list.iter, DBUS_TYPE_STRUCT, nullptr);
    pair.number(0);  // a glob; 1 would be a MIME type
    pair.string(glob);
  }
}

Message open_file(const char* token, const std::string& folder) {
  Message message(dbus_message_new_method_call(kService, kObject, kChooser, "OpenFile"));
  DBusMessageIter arguments{};
  dbus_message_iter_init_append(message.get(), &arguments);
  for (const char* text : {"", "Open a model"}) {  // parent window, title
    dbus_message_iter_append_basic(&arguments, DBUS_TYPE_STRING, static_cast<const void*>(&text));
  }
  Container options(&arguments, DBUS_TYPE_ARRAY, "{sv}");
  option(options, "handle_token", "s", [&](Container& v) { v.string(token); });
  option(options, "filters", "a(sa(us))", [](Container& v) {
    Container filters(&v.iter, DBUS_TYPE_ARRAY, "(sa(us))");
    filter(filters, "Models", {"*.gguf", "*.safetensors"});
    filter(filters, "All files", {"*"});
  });
  if (!folder.empty()) {
    option(options, "current_folder", "ay", [&](Container& v) {
      Container bytes(&v.iter, DBUS_TYPE_ARRAY, "y");
      const char* data = folder.c_str();  // with the zero that ends it: the interface wants it
      dbus_message_iter_append_fixed_array(&bytes.iter, DBUS_TYPE_BYTE,
                                           static_cast<const void*>(&data),
                                           static_cast<int>(folder.size()) + 1);
    });
  }
  return message;
}

/// The first of "uris" in a{sv} at `iter`; empty when there is none.
std::string first_uri(DBusMessageIter iter) {
  if (dbus_message_iter_get_arg_type(&iter) != DBUS_TYPE_ARRAY) {
    return {};
  }
  DBusMessageIter entry{};
  for (dbus_message_iter_recurse(&iter, &entry);
       dbus_message_iter_get_arg_type(&entry) == DBUS_TYPE_DICT_ENTRY;
       dbus_message_iter_next(&entry)) {
    DBusMessageIter pair{};
    dbus_message_iter_recurse(&entry, &pair);
    const char* name = "";
    if (dbus_message_iter_get_arg_type(&pair) != DBUS_TYPE_STRING) {
      continue;
    }
    dbus_message_iter_get_basic(&pair, static_cast<void*>(&name));
    dbus_message_iter_next(&pair);
    if (std::strcmp(name, "uris") != 0 ||
        dbus_message_iter_get_arg_type(&pair) != DBUS_TYPE_VARIANT) {
      continue;
    }
    DBusMessageIter variant{};
    dbus_message_iter_recurse(&pair, &variant);
    if (dbus_message_iter_get_arg_type(&variant) != DBUS_TYPE_ARRAY ||
        dbus_message_iter_get_element_type(&variant) != DBUS_TYPE_STRING) {
      continue;
    }
    DBusMessageIter uris{};
    dbus_message_iter_recurse(&variant, &uris);
    if (dbus_message_iter_get_arg_type(&uris) == DBUS_TYPE_STRING) {
      const char* uri = "";
      dbus_message_iter_get_basic(&uris, static_cast<void*>(&uri));
      return uri;
    }
  }
  return {};
}

/// What the Response signal says.
PortalAnswer read_response(DBusMessage* message) {
  PortalAnswer answer{true, {}, {}};
  DBusMessageIter arguments{};
  std::uint32_t code = 2;
  if (dbus_message_iter_init(message, &arguments) != FALSE &&
      dbus_message_iter_get_arg_type(&arguments) == DBUS_TYPE_UINT32) {
    dbus_message_iter_get_basic(&arguments, &code);
    dbus_message_iter_next(&arguments);
  }
  if (code == 1) {
    return answer;  // cancelled by the user
  }
  const std::string uri = code == 0 ? first_uri(arguments) : std::string();
  if (uri.empty()) {
    answer.problem = "the desktop's dialog ended without an answer";
    return answer;
  }
  if (auto path = path_of_uri(uri); path.ok()) {
    answer.path = std::move(path).value();
  } else {
    answer.problem = path.error().message;
  }
  return answer;
}

std::string match_rule(const std::string& request) {
  return fmt::format("type='signal',interface='{}',member='Response',path='{}'", kRequest, request);
}

/// One conversation, from the connection to the answer.
PortalAnswer converse(const std::string& address, const std::string& folder,
                      const std::stop_token& stop) {
  const auto absent = [](std::string why) { return PortalAnswer{false, {}, std::move(why)}; };
  BusError error;
  // Private: nobody else's messages are read here, and closing it ends the dialog's life.
  const Connection bus(dbus_connection_open_private(address.c_str(), error.get()));
  if (bus == nullptr) {
    return absent("the session bus cannot be reached: " + error.text());
  }
  dbus_connection_set_exit_on_disconnect(bus.get(), FALSE);
  if (dbus_bus_register(bus.get(), error.get()) == FALSE) {
    return absent("the session bus refused the connection: " + error.text());
  }
  // The request object's path follows from our name on the bus and the token.
  std::string name = dbus_bus_get_unique_name(bus.get());
  name.erase(0, 1);
  for (char& c : name) {
    c = c == '.' ? '_' : c;
  }
  const std::string token = fmt::format("layerscope{}", getpid());
  std::string request = fmt::format("{}/request/{}/{}", kObject, name, token);
  dbus_bus_add_match(bus.get(), match_rule(request).c_str(), nullptr);
  const Message call = open_file(token.c_str(), folder);
  dbus_uint32_t serial = 0;
  if (dbus_connection_send(bus.get(), call.get(), &serial) == FALSE) {
    return absent("the session bus takes no message");
  }
  bool shown = false;
  const auto asked = Clock::now();
  while (!stop.stop_requested()) {
    if (dbus_connection_read_write(bus.get(), kSlice) == FALSE) {
      return shown ? PortalAnswer{true, {}, "the connection to the desktop's dialog broke"}
                   : absent("the session bus closed the connection");
    }
    while (const Message message{dbus_connection_pop_message(bus.get())}) {
      if (dbus_message_get_reply_serial(message.get()) == serial) {
        if (dbus_set_error_from_message(error.get(), message.get()) != FALSE) {
          return absent(error.text());
        }
        const char* path = nullptr;
        if (dbus_message_get_args(message.get(), nullptr, DBUS_TYPE_OBJECT_PATH, &path,
                                  DBUS_TYPE_INVALID) != FALSE &&
            request != path) {  // portals before 0.9 choose the path themselves
          request = path;
          dbus_bus_add_match(bus.get(), match_rule(request).c_str(), nullptr);
        }
        shown = true;
      } else if (dbus_message_is_signal(message.get(), kRequest, "Response") != FALSE &&
                 dbus_message_has_path(message.get(), request.c_str()) != FALSE) {
        return read_response(message.get());
      }
    }
    if (!shown && Clock::now() - asked > kPatience) {
      return absent("the desktop's portal does not answer");
    }
  }
  const Message close(dbus_message_new_method_call(kService, request.c_str(), kRequest, "Close"));
  dbus_connection_send(bus.get(), close.get(), nullptr);
  dbus_connection_flush(bus.get());
  return {true, {}, {}};
}

}  // namespace

struct PortalDialog::Talk {
  std::mutex mutex;
  std::optional<PortalAnswer> answer;
  std::jthread thread;  ///< last: it is joined before the rest goes
};

std::string PortalDialog::bus_address() {
  const char* address = std::getenv("DBUS_SESSION_BUS_ADDRESS");
  if (address != nullptr && address[0] != '\0') {
    return address;
  }
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  std::error_code failed;
  if (runtime != nullptr && runtime[0] == '/' &&
      std::filesystem::is_socket(std::string(runtime) + "/bus", failed)) {
    return fmt::format("unix:path={}/bus", runtime);
  }
  return {};
}

std::string PortalDialog::why_not() {
  return bus_address().empty() ? "there is no D-Bus session here" : std::string();
}

void PortalDialog::open(std::string address, std::string folder) {
  if (running()) {
    return;
  }
  talk_ = std::make_unique<Talk>();
  talk_->thread = std::jthread([talk = talk_.get(), address = std::move(address),
                                folder = std::move(folder)](const std::stop_token& stop) {
    PortalAnswer answer = converse(address, folder, stop);
    const std::lock_guard lock(talk->mutex);
    talk->answer = std::move(answer);
  });
}

std::optional<PortalAnswer> PortalDialog::poll() {
  if (talk_ == nullptr) {
    return std::nullopt;
  }
  std::optional<PortalAnswer> answer;
  {
    const std::lock_guard lock(talk_->mutex);
    answer = std::move(talk_->answer);
  }
  if (answer) {
    talk_.reset();
  }
  return answer;
}

#else

struct PortalDialog::Talk {};

std::string PortalDialog::bus_address() { return {}; }
std::string PortalDialog::why_not() { return "this program was built without D-Bus"; }
void PortalDialog::open(std::string /*address*/, std::string /*folder*/) {
  talk_ = std::make_unique<Talk>();
}
std::optional<PortalAnswer> PortalDialog::poll() {
  if (talk_ == nullptr) {
    return std::nullopt;
  }
  talk_.reset();
  return PortalAnswer{false, {}, why_not()};
}

#endif

PortalDialog::PortalDialog() = default;
PortalDialog::~PortalDialog() = default;

}  // namespace layerscope::gui
