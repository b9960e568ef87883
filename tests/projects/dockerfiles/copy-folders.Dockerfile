FROM small:test
COPY sub /sub
COPY sub/ /sub-slash/
COPY sub /existing/
RUN mkdir /existing/kept /mode && chmod 0700 /mode && chown 7:8 /mode && echo kept > /existing/one
COPY sub /existing
COPY sub /mode/
COPY sub empty /both/
COPY . /everything/
COPY empty /empty
