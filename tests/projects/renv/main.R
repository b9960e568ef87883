answer <- jsonlite::fromJSON('{"answer": 42}')
Box <- R6::R6Class("Box", public = list(value = answer$answer))
stopifnot(packageVersion("jsonlite") == "1.8.4")
cat("answer ", Box$new()$value, "\n")
