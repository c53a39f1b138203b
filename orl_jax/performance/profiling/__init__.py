"""Where the time of training steps goes: records a profiler's trace and summarises it."""
