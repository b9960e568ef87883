# Train a classifier on the iris data that R ships, and keep it.
suppressPackageStartupMessages(library(randomForest))

set.seed(0)
test <- sample(nrow(iris), 45)
model <- randomForest(Species ~ ., data = iris[-test, ], ntree = 50)
right <- predict(model, iris[test, ]) == iris$Species[test]
cat(sprintf("accuracy: %.3f on %d flowers\n", mean(right), length(right)))
saveRDS(model, "model.rds")
