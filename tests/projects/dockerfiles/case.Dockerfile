from small:test as Build
run echo one > /one
From small:test
Copy --from=build /one /One
cMd ["x"]
entrypoint ["y"]
