FROM small:test
COPY . /all
COPY sub /sub
