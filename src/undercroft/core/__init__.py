"""Words that every part uses: errors, ids, units, clock, settings. No state, no network."""
