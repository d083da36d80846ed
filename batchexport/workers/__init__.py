"""Children that do the work: a fork server with torch imported, and one fresh process per stage."""
