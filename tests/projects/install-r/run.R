suppressPackageStartupMessages(library("digest"))
sum <- boot::boot(rep(21, 4), function(data, index) sum(data[index[1:2]]), R = 5)
stopifnot(nchar(digest(sum$t0)) == 32)
cat("answer ", sum$t0, "\n")
