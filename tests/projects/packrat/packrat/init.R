stop("packrat was loaded")
