library(magrittr)
c(6, 7) %>% prod %>% glue::glue("answer  ", .) %>% print
