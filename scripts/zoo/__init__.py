"""The fault zoo: seeded faults with their healthy twins, other tools' rules, and the scores."""
