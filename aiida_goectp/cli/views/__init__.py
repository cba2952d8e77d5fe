"""Tables, status lines and exports."""
