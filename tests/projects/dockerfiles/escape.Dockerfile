# escape=`
FROM small:test
RUN echo one `
    two > /words
ENV PLACE=C:\path\`
more QUOTED="a\b" TICKED="a`"b"
RUN echo "$PLACE" "$QUOTED" "$TICKED" > /environment
