# A linear model of the cars data set, fitted when the service starts.
fit <- lm(dist ~ speed, data = cars)

#* @serializer unboxedJSON
#* @get /health
function() list(status = "ok")

#* The coefficients of the model, and how much it explains.
#* @serializer unboxedJSON list(digits = 4)
#* @get /model
function() {
  list(
    intercept = coef(fit)[["(Intercept)"]],
    slope = coef(fit)[["speed"]],
    r_squared = summary(fit)$r.squared
  )
}

#* The distance in feet that a car needs to stop.
#* @param speed in miles per hour
#* @serializer unboxedJSON list(digits = 4)
#* @get /predict
function(res, speed) {
  speed <- suppressWarnings(as.numeric(speed))
  if (is.na(speed)) {
    res$status <- 400
    return(list(error = "speed is a number"))
  }
  list(speed = speed, distance = predict(fit, data.frame(speed = speed))[[1]])
}
