FROM small:test
COPY link /followed
COPY sub /nested
RUN ln -s /nested /to-folder && ln -s /nested/one /to-file && mkdir /real
COPY a.txt /to-folder/
COPY b.txt /to-folder/deep/b
COPY hard1 hard2 /hard/
COPY to-sub /through
COPY to-sub/one /through-one
