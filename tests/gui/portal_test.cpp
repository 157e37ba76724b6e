// The portal's file dialog against a service of our own on a private bus: what is asked, and every
// way in which it can end.
#include <dbus/dbus.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gui/app/portal_dialog.h"
#include "gui/app/system_dialog.h"

extern char** environ;  // NOLINT: POSIX declares it this way

namespace layerscope::gui {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// A dbus-daemon of our own, without any service that it could start.
class PrivateBus {
 public:
  PrivateBus() {
    folder_ = fs::path(testing::TempDir()) / ("layerscope-bus-" + std::to_string(getpid()));
    fs::create_directories(folder_);
    const fs::path config = folder_ / "bus.conf";
    std::ofstream(config) << "<busconfig><type>session</type><listen>unix:tmpdir="
                          << folder_.string()
                          << "</listen><policy context=\"default\"><allow send_destination=\"*\"/>"
                             "<allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>";
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
      return;
    }
    std::string option = "--config-file=" + config.string();
    std::string name = "dbus-daemon";
    std::string nofork = "--nofork";
    std::string print = "--print-address=1";
    std::array<char*, 5> argv{name.data(), option.data(), nofork.data(), print.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    const bool started =
        posix_spawnp(&child_, name.c_str(), &actions, nullptr, argv.data(), environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char c = 0;
    while (started && read(ends[0], &c, 1) == 1 && c != '\n') {
      address_ += c;
    }
    close(ends[0]);
    child_ = started ? child_ : -1;
  }
  ~PrivateBus() {
    if (child_ > 0) {
      kill(child_, SIGTERM);
      waitpid(child_, nullptr, 0);
    }
    std::error_code failed;
    fs::remove_all(folder_, failed);
  }
  PrivateBus(const PrivateBus&) = delete;
  PrivateBus& operator=(const PrivateBus&) = delete;
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  fs::path folder_;
  pid_t child_ = -1;
  std::string address_;
};

/// How the service behaves.
struct Behaviour {
  std::uint32_t code = 0;
  std::string uri;
  bool refuse = false;    ///< OpenFile is answered with an error
  bool own_path = false;  ///< the request object has another path than was announced (old portals)
  bool respond = true;    ///< false: the dialog stays open
};

/// What was asked of it.
struct Asked {
  std::string signature, title, token, folder;
  std::vector<std::string> filters;
  bool closed = false;  ///< Close was called on the request
};

class FakePortal {
 public:
  FakePortal(const std::string& address, Behaviour behaviour) : behaviour_(std::move(behaviour)) {
    bus_ = dbus_connection_open_private(address.c_str(), nullptr);
    if (bus_ != nullptr && dbus_bus_register(bus_, nullptr) != FALSE) {
      ready_ = dbus_bus_request_name(bus_, "org.freedesktop.portal.Desktop", 0, nullptr) ==
               DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER;
    }
    thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  }
  ~FakePortal() {
    stop();
    if (bus_ != nullptr) {
      dbus_connection_close(bus_);
      dbus_connection_unref(bus_);
    }
  }
  FakePortal(const FakePortal&) = delete;
  FakePortal& operator=(const FakePortal&) = delete;
  [[nodiscard]] bool ready() const { return ready_; }
  /// Ends the thread; what was asked may then be read.
  const Asked& stop() {
    thread_.request_stop();
    if (thread_.joinable()) {
      thread_.join();
    }
    return asked_;
  }

 private:
  void serve(const std::stop_token& stop) {
    while (ready_ && !stop.stop_requested()) {
      dbus_connection_read_write(bus_, 20);
      while (DBusMessage* message = dbus_connection_pop_message(bus_)) {
        if (dbus_message_is_method_call(message, "org.freedesktop.portal.FileChooser",
                                        "OpenFile") != FALSE) {
          answer(message);
        } else if (dbus_message_is_method_call(message, "org.freedesktop.portal.Request",
                                               "Close") != FALSE) {
          asked_.closed = true;
        }
        dbus_message_unref(message);
      }
    }
  }

  void read_option(DBusMessageIter entry) {
    DBusMessageIter pair{};
    dbus_message_iter_recurse(&entry, &pair);
    const char* name = nullptr;
    dbus_message_iter_get_basic(&pair, &name);
    dbus_message_iter_next(&pair);
    DBusMessageIter value{};
    dbus_message_iter_recurse(&pair, &value);
    char* signature = dbus_message_iter_get_signature(&value);
    const std::string kind = std::string(name) + ":" + signature;
    dbus_free(signature);
    if (kind == "handle_token:s") {
      const char* token = nullptr;
      dbus_message_iter_get_basic(&value, &token);
      asked_.token = token;
    } else if (kind == "current_folder:ay") {
      DBusMessageIter bytes{};
      dbus_message_iter_recurse(&value, &bytes);
      const char* data = nullptr;
      int n = 0;
      dbus_message_iter_get_fixed_array(&bytes, &data, &n);
      asked_.folder.assign(data, static_cast<std::size_t>(n));
    } else if (kind == "filters:a(sa(us))") {
      DBusMessageIter list{};
      for (dbus_message_iter_recurse(&value, &list);
           dbus_message_iter_get_arg_type(&list) == DBUS_TYPE_STRUCT;
           dbus_message_iter_next(&list)) {
        DBusMessageIter fields{};
        dbus_message_iter_recurse(&list, &fields);
        const char* text = nullptr;
        dbus_message_iter_get_basic(&fields, &text);
        std::string all = text;
        dbus_message_iter_next(&fields);
        DBusMessageIter globs{};
        for (dbus_message_iter_recurse(&fields, &globs);
             dbus_message_iter_get_arg_type(&globs) == DBUS_TYPE_STRUCT;
             dbus_message_iter_next(&globs)) {
          DBusMessageIter glob{};
          dbus_message_iter_recurse(&globs, &glob);
          std::uint32_t type = 9;
          dbus_message_iter_get_basic(&glob, &type);
          dbus_message_iter_next(&glob);
          dbus_message_iter_get_basic(&glob, &text);
          all += " " + std::to_string(type) + text;
        }
        asked_.filters.push_back(all);
      }
    } else {
      ADD_FAILURE() << "unexpected option " << kind;
    }
  }

  void answer(DBusMessage* call) {
    asked_.signature = dbus_message_get_signature(call);
    DBusMessageIter arguments{};
    dbus_message_iter_init(call, &arguments);
    dbus_message_iter_next(&arguments);
    const char* title = nullptr;
    dbus_message_iter_get_basic(&arguments, &title);
    asked_.title = title;
    dbus_message_iter_next(&arguments);
    DBusMessageIter entry{};
    for (dbus_message_iter_recurse(&arguments, &entry);
         dbus_message_iter_get_arg_type(&entry) == DBUS_TYPE_DICT_ENTRY;
         dbus_message_iter_next(&entry)) {
      read_option(entry);
    }
    if (behaviour_.refuse) {
      send(dbus_message_new_error(call, "org.freedesktop.portal.Error.NotAllowed", "not today"));
      return;
    }
    std::string sender = dbus_message_get_sender(call);
    sender.erase(0, 1);
    for (char& c : sender) {
      c = c == '.' ? '_' : c;
    }
    const std::string path = behaviour_.own_path ? "/org/freedesktop/portal/desktop/request/t/old"
                                                 : "/org/freedesktop/portal/desktop/request/" +
                                                       sender + "/" + asked_.token;
    const char* object = path.c_str();
    DBusMessage* reply = dbus_message_new_method_return(call);
    dbus_message_append_args(reply, DBUS_TYPE_OBJECT_PATH, &object, DBUS_TYPE_INVALID);
    send(reply);
    if (!behaviour_.respond) {
      return;
    }
    if (behaviour_.own_path) {  // the caller learns the path from the reply only
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    DBusMessage* signal =
        dbus_message_new_signal(object, "org.freedesktop.portal.Request", "Response");
    DBusMessageIter out{};
    DBusMessageIter results{};
    dbus_message_iter_init_append(signal, &out);
    dbus_message_iter_append_basic(&out, DBUS_TYPE_UINT32, &behaviour_.code);
    dbus_message_iter_open_container(&out, DBUS_TYPE_ARRAY, "{sv}", &results);
    append(&results, "choices", "a(ss)", "");
    append(&results, "uris", "as", behaviour_.uri);
    dbus_message_iter_close_container(&out, &results);
    send(signal);
  }

  static void append(DBusMessageIter* results, const char* name, const char* signature,
                     const std::string& text) {
    DBusMessageIter entry{};
    DBusMessageIter variant{};
    DBusMessageIter list{};
    dbus_message_iter_open_container(results, DBUS_TYPE_DICT_ENTRY, nullptr, &entry);
    dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &name);
    dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, signature, &variant);
    dbus_message_iter_open_container(&variant, DBUS_TYPE_ARRAY, signature + 1, &list);
    const char* value = text.c_str();
    if (!text.empty()) {
      dbus_message_iter_append_basic(&list, DBUS_TYPE_STRING, &value);
    }
    dbus_message_iter_close_container(&variant, &list);
    dbus_message_iter_close_container(&entry, &variant);
    dbus_message_iter_close_container(results, &entry);
  }

  void send(DBusMessage* message) {
    dbus_connection_send(bus_, message, nullptr);
    dbus_connection_flush(bus_);
    dbus_message_unref(message);
  }

  Behaviour behaviour_;
  Asked asked_;
  DBusConnection* bus_ = nullptr;
  bool ready_ = false;
  std::jthread thread_;
};

class Portal : public testing::Test {
 protected:
  void SetUp() override {
    if (bus_.address().empty()) {
      GTEST_SKIP() << "dbus-daemon is not installed";
    }
  }
  PortalAnswer ask(const std::string& folder = "/models") {
    PortalDialog dialog;
    dialog.open(bus_.address(), folder);
    EXPECT_TRUE(dialog.running());
    for (const auto start = Clock::now(); Clock::now() - start < std::chrono::seconds(20);) {
      if (auto answer = dialog.poll()) {
        EXPECT_FALSE(dialog.running());
        return *answer;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ADD_FAILURE() << "no answer";
    return {};
  }
  PrivateBus bus_;
};

TEST_F(Portal, Choice_IsReturned_AndTheQuestionIsAsSpecified) {
  FakePortal portal(bus_.address(), {0, "file:///models/my%20model%2B.gguf"});
  ASSERT_TRUE(portal.ready());
  const PortalAnswer answer = ask("/models/größer");
  EXPECT_TRUE(answer.available);
  EXPECT_EQ(answer.path, "/models/my model+.gguf");
  EXPECT_EQ(answer.problem, "");
  const Asked& asked = portal.stop();
  EXPECT_EQ(asked.signature, "ssa{sv}");
  EXPECT_EQ(asked.title, "Open a model");
  EXPECT_EQ(asked.folder, std::string("/models/größer") + '\0') << "bytes with the ending zero";
  EXPECT_EQ(asked.filters,
            (std::vector<std::string>{"Models 0*.gguf 0*.safetensors", "All files 0*"}));
}

TEST_F(Portal, Cancelled_IsAnEmptyPathWithoutProblem) {
  const FakePortal portal(bus_.address(), {1, ""});
  const PortalAnswer answer = ask();
  EXPECT_TRUE(answer.available);
  EXPECT_EQ(answer.path, "");
  EXPECT_EQ(answer.problem, "");
}

TEST_F(Portal, OtherEnd_AndPlacesThatAreNoFiles_AreProblemsInWords) {
  for (const auto& [code, uri] : {std::pair{2U, "file:///a"},
                                  {0U, ""},
                                  {0U, "sftp://host/a.gguf"},
                                  {0U, "file://host/a.gguf"},
                                  {0U, "file:///a%zz"}}) {
    const FakePortal portal(bus_.address(), {code, uri});
    ASSERT_TRUE(portal.ready());
    const PortalAnswer answer = ask();
    EXPECT_TRUE(answer.available) << uri;
    EXPECT_EQ(answer.path, "") << uri;
    EXPECT_NE(answer.problem, "") << uri;
  }
}

TEST_F(Portal, OldPortal_WithARequestPathOfItsOwn_IsHeard) {
  const FakePortal portal(bus_.address(), {0, "file:///a.gguf", false, true});
  EXPECT_EQ(ask().path, "/a.gguf");
}

TEST_F(Portal, NoService_OrARefusal_IsUnavailable) {
  EXPECT_FALSE(ask().available);
  const FakePortal portal(bus_.address(), {0, "", true});
  const PortalAnswer answer = ask();
  EXPECT_FALSE(answer.available);
  EXPECT_NE(answer.problem.find("not today"), std::string::npos) << answer.problem;
}

TEST_F(Portal, Destroyed_WhileTheDialogIsOpen_ClosesItAtOnce) {
  Behaviour open;
  open.respond = false;
  FakePortal portal(bus_.address(), open);
  const auto start = Clock::now();
  {
    PortalDialog dialog;
    dialog.open(bus_.address(), "/");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_FALSE(dialog.poll().has_value());
  }
  EXPECT_LT(Clock::now() - start, std::chrono::milliseconds(1500));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_TRUE(portal.stop().closed);
}

/// The whole dialog, with PATH and bus of the test.
class SystemDialogTest : public Portal {
 protected:
  void TearDown() override {
    setenv("PATH", path_.c_str(), 1);
    unsetenv("DBUS_SESSION_BUS_ADDRESS");
  }
  static Result<std::string> ask_system(SystemDialog& dialog) {
    LS_CHECK(dialog.open("/models"));
    for (const auto start = Clock::now(); Clock::now() - start < std::chrono::seconds(20);) {
      if (auto answer = dialog.poll()) {
        return *answer;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return internal_error("no answer");
  }
  std::string path_ = std::getenv("PATH");
};

TEST_F(SystemDialogTest, Portal_ComesFirst_ThenTheProgram_ThenAnErrorInWords) {
  const fs::path bin = fs::path(testing::TempDir()) / "layerscope-bin";
  fs::create_directories(bin);
  std::ofstream(bin / "zenity") << "#!/bin/sh\necho /by/zenity.gguf\n";
  fs::permissions(bin / "zenity", fs::perms::owner_all);
  setenv("PATH", (bin.string() + ":/bin:/usr/bin").c_str(), 1);
  setenv("DBUS_SESSION_BUS_ADDRESS", bus_.address().c_str(), 1);
  SystemDialog dialog;
  {
    const FakePortal portal(bus_.address(), {0, "file:///by/portal.gguf"});
    const auto chosen = ask_system(dialog);
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(chosen.value(), "/by/portal.gguf");
    EXPECT_EQ(dialog.via(), "portal");
  }
  const auto chosen = ask_system(dialog);  // the bus is there, the portal is gone
  ASSERT_TRUE(chosen.ok()) << chosen.error().message;
  EXPECT_EQ(chosen.value(), "/by/zenity.gguf");
  EXPECT_EQ(dialog.via(), "zenity");
  setenv("PATH", "/nowhere", 1);
  const auto none = ask_system(dialog);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("neither zenity nor kdialog"), std::string::npos)
      << none.error().message;
  fs::remove_all(bin);
}

}  // namespace
}  // namespace layerscope::gui
