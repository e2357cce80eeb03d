"""How units of work are run and watched in a process."""
