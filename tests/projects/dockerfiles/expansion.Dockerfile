FROM small:test
ENV name=value folder=sub number=8000
LABEL a=$name b=${name} c="${name}s" d='$name' e=$name-$folder f="${missing:-$name}" g="${name:+${folder}}"
EXPOSE $number ${number:+9000}/udp
WORKDIR /data/$folder
COPY ${folder}/one ./$name
ADD $folder/two.md ${missing:-/data}/
VOLUME /state/$name
USER ${missing:-ana}
STOPSIGNAL ${missing:-SIGUSR1}
