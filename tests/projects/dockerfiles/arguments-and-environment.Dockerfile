FROM small:test
ENV word=environment
RUN echo "$word" > /environment
ARG other=1
ENV word=${other}-again
RUN echo "$word $other" >> /environment
