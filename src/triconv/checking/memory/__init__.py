"""Arrays as training hands them over: how they lie in memory, what became of them, and memory that was used before."""
