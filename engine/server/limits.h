// The HTTP worker's limits, in one table. Those of the request's fields are the contract; the
// others bound what a client can cost.
#pragma once

#include <chrono>
#include <cstddef>

namespace layerscope::server {

// Fields of POST /execute.
inline constexpr std::size_t kMaxPromptChars = 32768;
inline constexpr std::size_t kMaxJobIdChars = 256;
inline constexpr int kMaxTokens = 2048;
inline constexpr double kMaxTemperature = 2.0;
inline constexpr double kMaxRepetitionPenalty = 2.0;
inline constexpr std::size_t kMaxStops = 4;
inline constexpr std::size_t kMaxStopChars = 100;

// Requests. A prompt of 32,768 characters written wholly as JSON escapes takes 384 KiB.
inline constexpr std::size_t kMaxBodyBytes = std::size_t{1} << 20U;
inline constexpr std::size_t kMaxHeadBytes = std::size_t{64} << 10U;
inline constexpr int kMaxJsonDepth = 16;
inline constexpr std::chrono::seconds kRequestTime{10};  ///< from connecting to the last byte
inline constexpr std::chrono::seconds kWriteTime{30};    ///< for each kWriteBytes
inline constexpr std::size_t kWriteBytes = std::size_t{16} << 10U;
inline constexpr std::chrono::milliseconds kLingerTime{300};

// Connections: streams of jobs and of windows keep a thread each.
inline constexpr int kSpareThreads = 24;         ///< beside the streams
inline constexpr std::size_t kMaxPending = 128;  ///< accepted connections that wait for a thread
inline constexpr int kMaxWindows = 4;            ///< attached at once

// Rates, per client address.
inline constexpr double kFailedLoginsPerSecond = 1.0;
inline constexpr double kFailedLoginsBurst = 20.0;
inline constexpr std::size_t kMaxClients = 4096;  ///< addresses remembered

// Waiting.
inline constexpr std::chrono::seconds kRetryAfter{1};
inline constexpr std::chrono::seconds kKeepAliveComment{10};
inline constexpr std::chrono::seconds kMetricsEvent{1};

}  // namespace layerscope::server
