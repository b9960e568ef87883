# As repo2docker has it; read, never run.
packages <- c("digest", "boot")
install.packages(packages, repos = "https://cran.example.org")
