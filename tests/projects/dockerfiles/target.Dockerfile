FROM small:test AS wanted
RUN echo wanted > /wanted
FROM wanted AS other
RUN false
