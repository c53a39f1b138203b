"""Where the time of training steps goes: a profiler's trace, and what it says in a page."""
