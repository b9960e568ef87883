FROM small:test AS parent
ONBUILD COPY a.txt /from-parent/
ONBUILD RUN echo "$WORD" > /word
ONBUILD ENV TRIGGERED=yes
FROM parent
ENV WORD=child
RUN echo "$TRIGGERED" > /triggered
ONBUILD LABEL kept=1
ONBUILD  add  [ "b.txt", "/x" ]
