"""Source `transactions`: see NOTES.md."""
