tabulate <- reticulate::import("tabulate")
cat(tabulate$tabulate(list(list("answer", 42L)), tablefmt = "plain"), "\n")
