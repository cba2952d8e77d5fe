"""Downloads from databases of crystals: OPTIMADE and the Materials Project, into files that the readers take."""
