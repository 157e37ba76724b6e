// Which threads go first where there are fewer cores than work. Any thread.
#pragma once

#include <functional>

namespace layerscope {

/// From now on the calling thread, and those that it starts, give way to the others of this user
/// wherever both could run (Linux: ten steps of nice). Alone on a core it loses nothing. There is
/// no way back without privileges.
void lower_own_priority();

/// Calls `start` on a thread of lowered priority and waits for it: the threads that it starts keep
/// that priority, the caller does not.
void start_at_low_priority(const std::function<void()>& start);

}  // namespace layerscope
