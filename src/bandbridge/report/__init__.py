"""Tables and figures for people and manuscripts."""
