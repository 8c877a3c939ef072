"""One handler for each RPC: admit, parse, stored state, rules, one line, reply."""
