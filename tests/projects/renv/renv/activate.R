# What renv writes here looks for the library that it keeps, unless a variable says that it is not to.
if (!tolower(Sys.getenv("RENV_CONFIG_AUTOLOADER_ENABLED", "TRUE")) %in% c("false", "0")) stop("renv was loaded")
