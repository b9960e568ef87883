"""System calls, and what this kernel and this user allow: one function per call. The only room with ctypes."""
