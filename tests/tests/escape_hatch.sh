# Restores the only snapshot of a repository with bash, coreutils, age, zstd and jq, as docs/format.md says.
# Arguments: repository, identity file, target, `index` or `packs` (where the chunks' places are read from).
# No pipefail: `head` closes its pipe early on purpose.
set -eu
repository=$1 id=$2 target=$3 from=$4
work=$(mktemp -d)
cd "$repository"

open() { tail -n +2 "$1" | age -d -i "$id" | zstd -dc; }

directories() {
    local file length
    if [ "$from" = index ]; then
        for file in index/*; do open "$file"; done
    else
        for file in packs/*/*; do
            length=$((16#$(tail -c 8 "$file")))
            tail -c $((16 + length)) "$file" | head -c "$length" > "$work/directory"
            open "$work/directory" | jq -c --arg pack "${file##*/}" '{pack: $pack, segments: .segments}'
        done
    fi
}

directories | jq -r '.pack as $p | .segments[] | . as $s
    | foreach .chunks[] as $c ({next: 0}; {at: .next, next: (.next + $c[1]), c: $c};
      [.c[0], $p, $s.offset, $s.length, .at, .c[1]] | @tsv)' > "$work/places"
declare -A places
while read -r chunk place; do places[$chunk]=$place; done < "$work/places"

chunk() {
    local pack offset length at size
    read -r pack offset length at size <<< "${places[$1]}"
    if [ ! -f "$work/$pack.$offset" ]; then
        tail -c +$((offset + 1)) "packs/${pack:0:2}/$pack" | head -c "$length" > "$work/age"
        age -d -i "$id" < "$work/age" | zstd -dc > "$work/$pack.$offset"
    fi
    tail -c +$((at + 1)) "$work/$pack.$offset" | head -c "$size"
}

# A text, byte for byte; the dot keeps line ends at its end.
text() { jq -r "$1 | if type == \"string\" then @base64 else .base64 end" <<< "$entry" | base64 -d; echo .; }

for root in snapshots/*; do open "$root" > "$work/root"; done
for c in $(jq -r '.entries.chunks[]' "$work/root"); do chunk "$c"; done > "$work/entries"
for c in $(jq -r '.references.chunks[]' "$work/root"); do chunk "$c"; done > "$work/references"
mkdir -p "$target"
exec 3< "$work/references"
while IFS= read -r entry; do
    path=$(text .path); path=$target/${path%.}
    case $(jq -r .kind <<< "$entry") in
        directory) mkdir -p "$path" ;;
        symlink) to=$(text .target); ln -s "${to%.}" "$path" ;;
        file)
            : > "$work/content"
            for ((n = $(jq '.chunks // 0' <<< "$entry"); n > 0; n--)); do
                read -r c <&3
                chunk "$c" >> "$work/content"
            done
            if [ "$(jq 'has("extents")' <<< "$entry")" = true ]; then
                : > "$path"
                at=0
                while read -r offset length; do
                    tail -c +$((at + 1)) "$work/content" | head -c "$length" \
                        | dd of="$path" bs=64K iflag=fullblock oflag=seek_bytes seek="$offset" conv=notrunc status=none
                    at=$((at + length))
                done < <(jq -r '.extents[] | @tsv' <<< "$entry")
                truncate -s "$(jq .size <<< "$entry")" "$path"
            else
                cp "$work/content" "$path"
            fi ;;
    esac
done < "$work/entries"
rm -r "$work"
