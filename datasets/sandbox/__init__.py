"""Run code that parses foreign files in a process of its own, with limits on time and memory."""
