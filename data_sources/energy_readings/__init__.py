"""Source `energy_readings`: see NOTES.md."""
