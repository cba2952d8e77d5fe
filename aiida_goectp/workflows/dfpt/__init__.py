"""Work chains that compute a dielectric response: one interface, one class an engine."""
