FROM small:test
COPY . /all
