// The other ends of the HTTP worker's connections, for the end-to-end scripts:
//
//   http_peer callback PORT_FILE FAILURES STATUS OUT   a server that answers STATUS so many times,
//                                                      then 200, and writes every body to OUT
//   http_peer soak URL SECONDS CLIENTS SEED            random clients; checks every stream
//   http_peer check-stream                             checks one stream on standard input
//
// Exit 0 when all was right; what was wrong stands on standard error.
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

/// Why a stream of events is wrong; empty when it is right. `whole`: it must have its end.
std::string wrong(const std::string& stream, bool whole) {
  int started = 0;
  int terminal = 0;
  int next = 0;
  std::size_t begin = 0;
  for (std::size_t end = stream.find("\n\n"); end != std::string::npos;
       end = stream.find("\n\n", begin)) {
    const std::string event = stream.substr(begin, end - begin);
    begin = end + 2;
    if (event.front() == ':') {
      continue;
    }
    const std::size_t line = event.find('\n');
    if (event.rfind("event: ", 0) != 0 || line == std::string::npos ||
        event.compare(line + 1, 6, "data: ") != 0) {
      return "not an event: " + event;
    }
    const std::string name = event.substr(7, line - 7);
    const auto data = nlohmann::json::parse(event.substr(line + 7), nullptr, false);
    if (data.is_discarded()) {
      return "no JSON (or no UTF-8) in: " + event;
    }
    if (terminal > 0) {
      return "an event after the terminal one: " + event;
    }
    if (name == "started") {
      ++started;
    } else if (started == 0) {
      return "before started: " + event;
    } else if (name == "token") {
      if (data.at("i").get<int>() != next++) {
        return "token out of order: " + event;
      }
    } else if (name == "end" || name == "error") {
      ++terminal;
      if (name == "end" && data.at("tokens_out").get<int>() != next) {
        return "tokens_out is not the number of tokens: " + event;
      }
    } else if (name != "metrics" && name != "finding") {
      return "unknown event: " + event;
    }
  }
  if (started > 1 || terminal > 1) {
    return "more than one started or terminal event";
  }
  if (whole && (terminal != 1 || begin != stream.size())) {
    return "no terminal event; the stream ends with: " +
           stream.substr(stream.size() > 200 ? stream.size() - 200 : 0);
  }
  return {};
}

int run_callback(const char* port_file, int failures, int status, const char* out) {
  httplib::Server server;
  std::atomic<int> n{0};
  server.Post("/ready", [&](const httplib::Request& request, httplib::Response& response) {
    std::ofstream(out, std::ios::app) << request.body << "\n";
    response.status = n++ < failures ? status : 200;
  });
  const int port = server.bind_to_any_port("127.0.0.1");
  std::ofstream(port_file) << port << std::endl;
  return server.listen_after_bind() ? 0 : 1;
}

struct Tally {
  std::atomic<int> done{0}, busy{0}, invalid{0}, left{0}, cancelled{0}, bad{0};
};

/// One random client: a whole job, a job that is cancelled, one whose client leaves, a bad request.
void visit(const std::string& url, std::mt19937& random, int who, int turn, Tally& tally) {
  const auto dice = [&random](int sides) {
    return std::uniform_int_distribution<int>(0, sides - 1)(random);
  };
  httplib::Client client(url);
  client.set_read_timeout(60);
  const std::string id = "soak-" + std::to_string(who) + "-" + std::to_string(turn);
  const char* captures[] = {"off", "summary", "attention"};
  nlohmann::json body{{"job_id", id},
                      {"prompt", "Write a haiku about rivers. Use the word seven."},
                      {"chat", dice(2) == 0},
                      {"max_tokens", 1 + dice(dice(4) == 0 ? 200 : 20)},
                      {"temperature", dice(3) * 0.5},
                      {"seed", dice(1000)},
                      {"capture", captures[dice(3)]}};
  const int kind = dice(10);
  if (kind == 0) {
    body["temperature"] = 9;
  }
  const int leave_after = kind == 1 ? 1 + dice(2000) : -1;
  std::string stream;
  int status = 0;
  httplib::Request request;
  request.method = "POST";
  request.path = "/execute";
  request.headers = {{"Content-Type", "application/json"}};
  request.body = body.dump();
  request.response_handler = [&status](const httplib::Response& response) {
    status = response.status;
    return true;
  };
  bool asked = false;
  request.content_receiver = [&](const char* data, std::size_t n, std::uint64_t, std::uint64_t) {
    stream.append(data, n);
    if (kind == 2 && !std::exchange(asked, true)) {
      httplib::Client other(url);
      other.Post("/cancel", nlohmann::json{{"job_id", id}}.dump(), "application/json");
      ++tally.cancelled;
    }
    return leave_after < 0 || static_cast<int>(stream.size()) < leave_after;
  };
  const auto answer = client.send(request);
  const bool left = !answer && answer.error() == httplib::Error::Canceled;
  std::string problem;
  if (!answer && !left) {
    problem = "no answer: " + httplib::to_string(answer.error());
  } else if (status == 503 || status == 429) {
    ++tally.busy;
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + dice(50)));
  } else if (status == 400) {
    ++tally.invalid;
    problem = kind == 0 ? "" : "a right request was refused: " + stream;
  } else if (status != 200 || kind == 0) {
    problem = "status " + std::to_string(status);
  } else {
    problem = wrong(stream, !left);
    ++(left ? tally.left : tally.done);
  }
  if (!problem.empty()) {
    ++tally.bad;
    std::cerr << id << ": " << problem << "\n";
  }
}

int run_soak(const std::string& url, int seconds, int clients, unsigned seed) {
  Tally tally;
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  std::vector<std::thread> threads;
  for (int who = 0; who < clients; ++who) {
    threads.emplace_back([&, who] {
      std::mt19937 random(seed + static_cast<unsigned>(who));
      for (int turn = 0; Clock::now() < end; ++turn) {
        visit(url, random, who, turn, tally);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::printf("%d whole streams, %d busy, %d invalid, %d left early, %d cancelled, %d wrong\n",
              tally.done.load(), tally.busy.load(), tally.invalid.load(), tally.left.load(),
              tally.cancelled.load(), tally.bad.load());
  return tally.bad == 0 && tally.done > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "callback" && argc == 6) {
    return run_callback(argv[2], std::stoi(argv[3]), std::stoi(argv[4]), argv[5]);
  }
  if (mode == "soak" && argc == 6) {
    return run_soak(argv[2], std::stoi(argv[3]), std::stoi(argv[4]),
                    static_cast<unsigned>(std::stoul(argv[5])));
  }
  if (mode == "check-stream") {
    const std::string text((std::istreambuf_iterator<char>(std::cin)),
                           std::istreambuf_iterator<char>());
    const std::string problem = wrong(text, true);
    std::cerr << problem;
    return problem.empty() ? 0 : 1;
  }
  std::cerr << "usage: http_peer callback|soak|check-stream …\n";
  return 2;
}
