"""Tables, lines and exports that the commands print."""
