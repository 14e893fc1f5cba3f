"""Source `grid_sensors`: see NOTES.md."""
