FROM small:test
COPY *.txt /texts/
COPY sub/t* /ts/
COPY s?b/one /one
COPY sub/*/three /three
COPY [a-b].txt /ranges/
COPY h*[12] /hard/
