"""Source `iot_events`: see NOTES.md."""
