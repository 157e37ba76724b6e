// A worker and attached windows over loopback: the same numbers as locally, commands, jobs seen
// from a window, reconnection, bounds, hostile peers.
#include "engine/server/remote_session.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <random>

#include "engine/server/worker.h"
#include "engine/session/session.h"
#include "tests/support/fixtures.h"

namespace layerscope::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

bool eventually(const std::function<bool()>& condition, milliseconds most = seconds(20)) {
  const auto deadline = Clock::now() + most;
  while (!condition()) {
    if (Clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  return true;
}

std::unique_ptr<Worker> make_worker(int port = 0, double window_mib_s = 64.0,
                                    const std::string& token_file = {}) {
  WorkerOptions options;
  options.model = testing::demo_model();
  options.port = port;
  options.window_mib_s = window_mib_s;
  options.token_file = token_file;
  options.grace_seconds = 0.0;
  auto worker = std::make_unique<Worker>(std::move(options));
  const Status status = worker->start();
  EXPECT_TRUE(status.ok()) << status.error().message;
  return worker;
}

std::unique_ptr<RemoteSession> attach(const std::string& endpoint, const std::string& token = {}) {
  RemoteOptions options;
  options.url = parse_url(endpoint).value();
  options.token = token;
  return std::make_unique<RemoteSession>(std::move(options));
}

void after(session::SessionLink& link, session::Command command) {
  link.send(std::move(command));
  ASSERT_TRUE(eventually([&] { return link.idle(); }));
}

void play(session::SessionLink& link) {
  after(link, session::SetPrompt{"Count from one to nine.", true});
  after(link, session::Run{12});
}

TEST(RemoteSession, SameRun_SameLogitsStatisticsAndMaps) {
  const auto worker = make_worker();
  const auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  remote->send(session::RequestHeadMap{2, 1});
  play(*remote);
  session::Session local{session::SessionOptions{}};
  after(local, session::LoadModel{testing::demo_model()});
  play(local);
  const auto a = local.snapshot();
  const auto b = remote->snapshot();
  ASSERT_EQ(a->n_frames, b->n_frames);
  EXPECT_EQ(a->prompt_ids, b->prompt_ids);
  EXPECT_EQ(a->stop_reason, b->stop_reason);
  for (int i = 0; i < a->n_frames; ++i) {
    const capture::TokenFrame& x = *a->frame(i);
    const capture::TokenFrame& y = *b->frame(i);
    ASSERT_EQ(x.id, y.id) << i;
    ASSERT_EQ(x.logits.has_value(), y.logits.has_value());
    if (x.logits) {
      ASSERT_EQ(x.logits->top.size(), y.logits->top.size());
      for (std::size_t t = 0; t < x.logits->top.size(); ++t) {
        EXPECT_EQ(x.logits->top[t].id, y.logits->top[t].id);
        EXPECT_EQ(x.logits->top[t].logit, y.logits->top[t].logit);
      }
    }
    for (int layer = 0; layer < x.n_layers; ++layer) {
      EXPECT_EQ(x.stats(layer, capture::Tap::kResidOut).l2,
                y.stats(layer, capture::Tap::kResidOut).l2);
      EXPECT_EQ(x.head(layer, 3).entropy, y.head(layer, 3).entropy);
    }
    ASSERT_NE(y.attention, nullptr);
    const capture::PooledRows& pooled = y.attention->pooled();
    const auto row = x.attention_row(1, 2);
    for (std::size_t k = 0; k < row.size() && pooled.width == 1; ++k) {
      const auto cell = pooled.cells[(1 * 8 + 2) * row.size() + k];
      EXPECT_NEAR(std::sqrt(row[k]), capture::PooledRows::root_of(cell), 0.003);
    }
  }
  ASSERT_TRUE(eventually([&] {
    const auto map = remote->snapshot()->head_map;
    return map != nullptr && map->n_tokens == a->n_frames;
  }));
  const auto map = remote->snapshot()->head_map;
  const auto n = static_cast<std::size_t>(map->n_tokens);
  for (std::size_t q = 0; q < n; ++q) {
    const auto row = a->frame(static_cast<int>(q))->attention_row(2, 1);
    for (std::size_t k = 0; k < row.size(); ++k) {
      ASSERT_EQ(row[k], map->probabilities[q * n + k]);
    }
  }
}

TEST(RemoteSession, Model_IsDescribed_TensorsOnDemand) {
  const auto worker = make_worker();
  const auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  const auto here = testing::load(testing::demo_model());
  const auto m = remote->snapshot()->model;
  EXPECT_EQ(m->n_layers, here->spec.n_layers);
  ASSERT_EQ(m->tokenizer->n_tokens(), here->tokenizer->n_tokens());
  for (std::int32_t id = 0; id < m->n_tokens; ++id) {
    ASSERT_EQ(m->tokenizer->decode(id, true), here->tokenizer->decode(id, true));
    ASSERT_EQ(m->tokenizer->is_end(id), here->tokenizer->is_end(id));
  }
  EXPECT_EQ(m->file->metadata.size(), here->file->metadata.size());
  ASSERT_EQ(m->file->tensors.size(), here->file->tensors.size());
  EXPECT_TRUE(m->file->tensors[0].data.empty());
  EXPECT_FALSE(m->faults.empty());
  const std::string name = m->file->tensors[1].name;
  EXPECT_EQ(remote->tensor(name), nullptr);
  ASSERT_TRUE(eventually([&] { return remote->tensor(name) != nullptr; }));
  const auto stats = format::tensor_stats(*here->file->find_tensor(name));
  EXPECT_EQ(remote->tensor(name)->stats.mean, stats.value().mean);
  EXPECT_EQ(remote->tensor("no such tensor"), nullptr);
  ASSERT_TRUE(eventually([&] { return remote->tensor("no such tensor") != nullptr; }));
  EXPECT_FALSE(remote->tensor("no such tensor")->error.empty());
}

/// The panel's own question: asked once, then waited for.
std::shared_ptr<const session::TokenDetail> inspect(session::SessionLink& link, int position,
                                                    int lens) {
  after(link, session::InspectToken{position, lens});
  return link.snapshot()->token_detail;
}

TEST(RemoteSession, Views_TokenLensCacheAndWeights_AreThoseOfALocalSession) {
  const auto worker = make_worker();
  const auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  play(*remote);
  session::Session local{session::SessionOptions{}};
  after(local, session::LoadModel{testing::demo_model()});
  play(local);
  const int position = local.snapshot()->n_frames - 2;
  const auto a = inspect(local, position, 8);
  const auto b = inspect(*remote, position, 8);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->error, "");
  EXPECT_EQ(b->position, position);
  EXPECT_EQ(b->serial, remote->snapshot()->frame(position)->serial) << "fresh, as panels ask";
  ASSERT_EQ(a->pass.tensors.size(), b->pass.tensors.size());
  ASSERT_GT(b->pass.tensors.size(), 50U);
  for (std::size_t i = 0; i < a->pass.tensors.size(); ++i) {
    EXPECT_EQ(a->pass.tensors[i].tap, b->pass.tensors[i].tap);
    EXPECT_EQ(a->pass.tensors[i].layer, b->pass.tensors[i].layer);
    EXPECT_EQ(a->pass.tensors[i].shape, b->pass.tensors[i].shape);
    ASSERT_EQ(a->pass.tensors[i].values, b->pass.tensors[i].values) << i;
  }
  ASSERT_EQ(a->lens.size(), b->lens.size());
  for (std::size_t i = 0; i < a->lens.size(); ++i) {
    ASSERT_EQ(a->lens[i].top.size(), 8U);
    EXPECT_EQ(a->lens[i].top[7].logit, b->lens[i].top[7].logit);
    EXPECT_EQ(a->lens[i].final_rank, b->lens[i].final_rank);
  }
  for (session::SessionLink* link : {static_cast<session::SessionLink*>(&local),
                                     static_cast<session::SessionLink*>(remote.get())}) {
    after(*link, session::Rewind{position});
    after(*link, session::InspectCache{1, 0, position + 1});
  }
  const auto x = local.snapshot()->cache_view;
  const auto y = remote->snapshot()->cache_view;
  ASSERT_NE(y, nullptr);
  EXPECT_EQ(x->stats.kv_len, y->stats.kv_len);
  ASSERT_EQ(x->stats.n_slots, position + 2) << "one slot is stale";
  ASSERT_EQ(x->stats.slots.size(), y->stats.slots.size());
  for (std::size_t i = 0; i < x->stats.slots.size(); ++i) {
    EXPECT_EQ(x->stats.slots[i].k_l2, y->stats.slots[i].k_l2);
    EXPECT_EQ(x->stats.slots[i].zero, y->stats.slots[i].zero);
  }
  EXPECT_EQ(y->slot, position + 1);
  ASSERT_FALSE(y->key.empty());
  EXPECT_EQ(x->key, y->key);
  EXPECT_EQ(x->value, y->value);
  const auto here = testing::load(testing::demo_model());
  for (const char* name : {"blk.0.attn_q.weight", "output_norm.weight"}) {
    ASSERT_TRUE(eventually([&] { return remote->tensor(name) != nullptr; }));
    const auto report = remote->tensor(name);
    ASSERT_NE(report->file, nullptr);
    const format::TensorInfo& there = report->file->tensors.front();
    const format::TensorInfo& ours = *here->file->find_tensor(name);
    ASSERT_EQ(there.data.size(), ours.data.size());
    EXPECT_TRUE(std::equal(ours.data.begin(), ours.data.end(), there.data.begin()));
    EXPECT_EQ(there.offset, ours.offset);
  }
}

TEST(RemoteSession, ViewsThatCannotBe_AreAnsweredWithASentence) {
  const auto worker = make_worker();
  const auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  play(*remote);
  const auto detail = inspect(*remote, 5000, 0);
  ASSERT_NE(detail, nullptr);
  EXPECT_NE(detail->error.find("no token at position 5000"), std::string::npos);
}

TEST(RemoteSession, TwoWindows_AskForDifferentTokens_EachGetsItsOwn) {
  const auto worker = make_worker();
  const auto one = attach(worker->endpoint());
  const auto two = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return one->idle() && two->idle(); }));
  play(*one);
  const auto shows = [](const RemoteSession& window, int position) {
    const auto detail = window.snapshot()->token_detail;
    return detail != nullptr && detail->position == position && detail->error.empty();
  };
  for (int i = 0; i < 10; ++i) {
    one->send(session::InspectToken{i, 0});
    two->send(session::InspectToken{10 - i, 4});
    ASSERT_TRUE(eventually([&] { return shows(*one, i) && shows(*two, 10 - i); })) << i;
  }
}

TEST(RemoteSession, AskedWhileAway_IsAnsweredAfterTheReconnection) {
  auto worker = make_worker();
  const std::string endpoint = worker->endpoint();
  const auto remote = attach(endpoint);
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  play(*remote);
  worker.reset();
  ASSERT_TRUE(eventually([&] { return !remote->link().connected; }));
  remote->send(session::InspectToken{3, 4});
  remote->send(session::InspectCache{0, 0, 0});
  worker = make_worker(parse_url(endpoint).value().port);
  ASSERT_TRUE(eventually([&] {
    const auto s = remote->snapshot();
    return s->token_detail != nullptr && s->cache_view != nullptr;
  }));
  EXPECT_FALSE(remote->snapshot()->token_detail->error.empty()) << "another process: no token 3";
}

TEST(RemoteSession, ViewsWhileGenerating_StayBelowTheBound_AndFramesGoOn) {
  const auto worker = make_worker(0, 0.5);
  const auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  after(*remote, session::SetPrompt{"zzz", false});
  const std::uint64_t before = remote->link().bytes_total;
  const auto start = Clock::now();
  remote->send(session::Run{400});
  ASSERT_TRUE(eventually([&] { return remote->snapshot()->n_frames > 4; }));
  int views = 0;
  std::shared_ptr<const session::TokenDetail> last;
  const int frames = remote->snapshot()->n_frames;
  while (Clock::now() - start < seconds(3)) {
    remote->send(session::InspectToken{2, 4});
    std::this_thread::sleep_for(milliseconds(20));
    const auto now = remote->snapshot()->token_detail;
    views += now != last ? 1 : 0;
    last = now;
  }
  const double took = std::chrono::duration<double>(Clock::now() - start).count();
  const auto bytes = static_cast<double>(remote->link().bytes_total - before);
  EXPECT_GT(views, 2);
  EXPECT_GT(remote->snapshot()->n_frames, frames + 4);
  EXPECT_LT(bytes, (took + 0.6) * 0.5 * 1048576.0);
}

TEST(RemoteSession, Branches_TravelAndAreSwitched) {
  const auto worker = make_worker();
  const auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  play(*remote);
  const auto before = remote->snapshot();
  const int n = before->n_frames;
  const std::int32_t last = before->frame(n - 1)->id;
  after(*remote, session::Rewind{n - 4});
  after(*remote, session::ForceToken{5});
  ASSERT_EQ(remote->snapshot()->branches.size(), 1U);
  EXPECT_EQ(remote->snapshot()->frame(n - 3)->id, 5);
  after(*remote, session::SwitchBranch{remote->snapshot()->branches[0].id});
  ASSERT_EQ(remote->snapshot()->n_frames, n);
  EXPECT_EQ(remote->snapshot()->frame(n - 1)->id, last);
  EXPECT_TRUE(remote->snapshot()->error.empty()) << remote->snapshot()->error;
  after(*remote, session::DropBranch{remote->snapshot()->branches.at(0).id});
  EXPECT_TRUE(remote->snapshot()->branches.empty());
}

TEST(RemoteSession, Commands_RewindForceFaultsAndFindings) {
  const auto worker = make_worker();
  const auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  play(*remote);
  const int n_prompt = remote->snapshot()->n_prompt();
  after(*remote, session::Rewind{n_prompt + 1});
  EXPECT_EQ(remote->snapshot()->n_frames, n_prompt + 2);
  after(*remote, session::ForceToken{5});
  EXPECT_EQ(remote->snapshot()->frame(n_prompt + 2)->id, 5);
  after(*remote, session::SetFaults{{"softmax:unnormalised"}});
  after(*remote, session::Step{1});
  EXPECT_EQ(remote->snapshot()->faults, std::vector<std::string>{"softmax:unnormalised"});
  EXPECT_FALSE(remote->snapshot()->findings.empty());
  after(*remote, session::SetFaults{{"no such fault"}});
  EXPECT_NE(remote->snapshot()->error.find("no such fault"), std::string::npos);
  // A file of the worker's machine cannot be opened from a window.
  remote->send(session::LoadModel{"/etc/passwd"});
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_TRUE(remote->idle());
  EXPECT_NE(remote->snapshot()->model, nullptr);
}

TEST(RemoteSession, TwoWindows_SeeTheSame_PlacesAreBounded) {
  const auto worker = make_worker();
  std::vector<std::unique_ptr<RemoteSession>> windows;
  for (int i = 0; i < 5; ++i) {
    windows.push_back(attach(worker->endpoint()));
  }
  const auto connected = [&] {
    return std::count_if(windows.begin(), windows.end(),
                         [](const auto& w) { return w->link().connected; });
  };
  ASSERT_TRUE(eventually([&] { return connected() == 4; }));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(connected(), 4);
  std::erase_if(windows, [](const auto& w) { return !w->link().connected; });
  play(*windows[0]);
  const int n = windows[0]->snapshot()->n_frames;
  EXPECT_TRUE(eventually([&] { return windows[1]->snapshot()->n_frames == n; }));
}

TEST(RemoteSession, WorkerRestarts_WindowComesBackAndForgetsNothingWrongly) {
  auto worker = make_worker();
  const std::string endpoint = worker->endpoint();
  const auto remote = attach(endpoint);
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  play(*remote);
  const int n = remote->snapshot()->n_frames;
  worker.reset();
  ASSERT_TRUE(eventually([&] { return !remote->link().connected; }));
  EXPECT_EQ(remote->snapshot()->n_frames, n) << "what was shown stays";
  EXPECT_FALSE(remote->link().problem.empty());
  worker = make_worker(parse_url(endpoint).value().port);
  ASSERT_TRUE(eventually([&] { return remote->link().connected; }));
  EXPECT_GT(remote->link().reconnects, 0);
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  EXPECT_EQ(remote->snapshot()->n_frames, 0) << "another process has another session";
  play(*remote);
  EXPECT_EQ(remote->snapshot()->n_frames, n);
}

TEST(RemoteSession, Reattached_TheSessionIsStillThere) {
  const auto worker = make_worker();
  auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  play(*remote);
  const int n = remote->snapshot()->n_frames;
  remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  EXPECT_EQ(remote->snapshot()->n_frames, n);
}

TEST(RemoteSession, Bandwidth_StaysBelowTheBound) {
  const auto worker = make_worker(0, 0.25);
  const auto remote = attach(worker->endpoint());
  ASSERT_TRUE(eventually([&] { return remote->idle(); }));
  const std::uint64_t before = remote->link().bytes_total;
  const auto start = Clock::now();
  remote->send(session::SetPrompt{"zzz", false});
  remote->send(session::Run{400});
  std::this_thread::sleep_for(seconds(2));
  const double took = std::chrono::duration<double>(Clock::now() - start).count();
  const auto bytes = static_cast<double>(remote->link().bytes_total - before);
  EXPECT_GT(bytes, 100e3);
  EXPECT_LT(bytes, (took + 0.5) * 0.25 * 1048576.0);
  EXPECT_EQ(remote->link().bytes_per_s_most, 262144U);
}

TEST(RemoteSession, Token_WrongOneIsSaidAndNotRepeated) {
  const std::string path = ::testing::TempDir() + "window_token";
  std::ofstream(path) << "0123456789abcdef0123";
  const auto worker = make_worker(0, 16.0, path);
  const auto refused = attach(worker->endpoint(), "0123456789abcdef0124");
  ASSERT_TRUE(eventually([&] { return !refused->snapshot()->error.empty(); }));
  EXPECT_NE(refused->snapshot()->error.find("token"), std::string::npos);
  EXPECT_EQ(refused->snapshot()->state, session::State::kEmpty);
  EXPECT_TRUE(refused->idle());
  const auto taken = attach(worker->endpoint(), "0123456789abcdef0123");
  EXPECT_TRUE(eventually([&] { return taken->idle() && taken->link().connected; }));
}

/// A listener that answers every connection with `answer` and then closes it.
class HostileWorker {
 public:
  explicit HostileWorker(std::string answer) : answer_(std::move(answer)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    ::listen(fd_, 8);
    thread_ = std::thread([this] { loop(); });
  }
  ~HostileWorker() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  HostileWorker(const HostileWorker&) = delete;
  HostileWorker& operator=(const HostileWorker&) = delete;
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::atomic<int> visits{0};

 private:
  void loop() {
    for (;;) {
      const int client = ::accept(fd_, nullptr, nullptr);
      if (client < 0) {
        return;
      }
      ++visits;
      char request[4096];
      ::recv(client, request, sizeof request, 0);
      ::send(client, answer_.data(), answer_.size(), MSG_NOSIGNAL);
      ::shutdown(client, SHUT_WR);
      ::recv(client, request, sizeof request, 0);
      ::close(client);
    }
  }
  const std::string answer_;
  int fd_ = -1, port_ = 0;
  std::thread thread_;
};

TEST(RemoteSession, HostilePeers_BecomeASentence) {
  const std::string upgrade = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
  const auto record = [](ToWindow type, std::string_view payload) {
    return frame_record(static_cast<std::uint8_t>(type), payload);
  };
  Hello hello;
  hello.n_taps = static_cast<std::uint32_t>(capture::kNumTaps);
  hello.session_key = 5;
  Hello other = hello;
  other.version = 99;
  const std::string greeting = record(ToWindow::kHello, encode(hello));
  const std::vector<std::string> answers{
      "garbage\r\n\r\n",
      "HTTP/1.1 200 OK\r\n\r\n",
      std::string(40000, 'x'),
      upgrade + std::string("\xff\xff\xff\xff\x01", 5),
      upgrade + std::string(4, '\0'),
      upgrade + record(ToWindow::kState, ""),
      upgrade + record(ToWindow::kHello, encode(other)),
      upgrade + greeting + greeting,
      upgrade + greeting + record(ToWindow::kModel, "short"),
      upgrade + greeting + record(ToWindow::kState, std::string(500, '\1')),
      upgrade + greeting + record(static_cast<ToWindow>(200), "x")};
  for (const std::string& answer : answers) {
    HostileWorker worker(answer);
    const auto remote = attach(worker.url());
    ASSERT_TRUE(eventually([&] { return !remote->snapshot()->error.empty(); }))
        << answer.substr(0, 60);
    EXPECT_FALSE(remote->link().connected);
    EXPECT_EQ(worker.visits, 1) << "a hostile peer is not visited again";
  }
}

TEST(RemoteSession, RandomBytesAfterTheUpgrade_NeverCrash) {
  constexpr unsigned kSeed = 3;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  Hello hello;
  hello.n_taps = static_cast<std::uint32_t>(capture::kNumTaps);
  hello.session_key = 5;
  for (int i = 0; i < 20; ++i) {
    std::string answer = "HTTP/1.1 101 S\r\n\r\n";
    answer += frame_record(static_cast<std::uint8_t>(ToWindow::kHello), encode(hello));
    for (int n = 0; n < 20; ++n) {
      std::string payload(random() % 300, '\0');
      for (char& c : payload) {
        c = static_cast<char>(random() % 3 == 0 ? 0 : random());
      }
      answer += frame_record(static_cast<std::uint8_t>(random() % 13), payload);
    }
    HostileWorker worker(answer);
    const auto remote = attach(worker.url());
    EXPECT_TRUE(eventually([&] { return !remote->link().problem.empty() && worker.visits > 0; }));
  }
}

TEST(Worker, HostileWindows_AreDropped) {
  const auto worker = make_worker();
  const Url url = parse_url(worker->endpoint()).value();
  std::mt19937 random(4);
  for (int i = 0; i < 20; ++i) {
    RemoteSocket socket;
    ASSERT_TRUE(eventually([&] { return socket.open(url, {}).ok(); }));
    std::string bytes;
    if (i % 2 == 0) {
      bytes = frame_record(static_cast<std::uint8_t>(ToWorker::kResume), encode(Resume{}));
    }
    for (int n = 0; n < 2000; ++n) {
      bytes += static_cast<char>(random() % 4 == 0 ? random() : 0);
    }
    ASSERT_TRUE(socket.write(bytes).ok());
    // Most are nonsense at once; some begin a record that never ends, until they leave.
    (void)socket.read(milliseconds(50));
  }
  std::vector<std::unique_ptr<RemoteSession>> windows;
  for (int i = 0; i < 4; ++i) {
    windows.push_back(attach(worker->endpoint()));
    EXPECT_TRUE(eventually([&] { return windows.back()->idle(); })) << "a place was not given back";
  }
}

TEST(RemoteSession, NobodyThere_TriesAgainAndEndsAtOnce) {
  const auto remote = attach("http://127.0.0.1:1");
  ASSERT_TRUE(
      eventually([&] { return remote->link().problem.find("nobody") != std::string::npos; }));
  EXPECT_FALSE(remote->idle());
  remote->send(session::Step{1});  // nothing to do it
}

}  // namespace
}  // namespace layerscope::server
