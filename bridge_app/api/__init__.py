"""REST: the history, the statistics, the plugins, and the health of the bridge."""
