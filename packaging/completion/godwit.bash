# Bash completion of godwit(1). Container names and migration ids come from the local agent; where it
# does not answer there are none.

# Names and options have no blanks in them, so words may be split.
# shellcheck disable=SC2207

_godwit_options()
{
    case $1 in
        migrate)
            echo "--to --mode --downtime-max --rounds-max --timeout --at-limit --throttle --no-throttle --streams" \
                "--compress --bandwidth-max --json --quiet --socket --help"
            ;;
        check) echo "--to --json --socket --help" ;;
        ps | status) echo "--json --quiet --socket --help" ;;
        cancel) echo "--socket --help" ;;
        resolve) echo "--source --target --yes --socket --help" ;;
        version) echo "--json --socket --help" ;;
        "pki ca") echo "--dir --days --force --help" ;;
        "pki host") echo "--ip --ca --out --days --help" ;;
        *) echo "--socket --version --help" ;;
    esac
}

# The value of an option: returns 1 if $1 takes none.
_godwit_value()
{
    case $1 in
        --mode) COMPREPLY=($(compgen -W "auto cold precopy postcopy hybrid" -- "$2")) ;;
        --at-limit) COMPREPLY=($(compgen -W "roll-back take-downtime" -- "$2")) ;;
        --compress) COMPREPLY=($(compgen -W "auto none lz4 zstd" -- "$2")) ;;
        --dir | --ca | --out) compopt -o filenames; COMPREPLY=($(compgen -d -- "$2")) ;;
        --socket) compopt -o filenames; COMPREPLY=($(compgen -f -- "$2")) ;;
        --to | --days | --ip | --downtime-max | --rounds-max | --timeout | --streams | --bandwidth-max) COMPREPLY=() ;;
        *) return 1 ;;
    esac
}

_godwit()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command="" i
    COMPREPLY=()
    _godwit_value "$previous" "$current" && return
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --socket) ((i++)) ;;
            -*) ;;
            *)
                command=${COMP_WORDS[i]}
                [[ $command == pki && $((i + 1)) -lt $COMP_CWORD ]] && command+=" ${COMP_WORDS[i+1]}"
                break
                ;;
        esac
    done
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$(_godwit_options "$command")" -- "$current"))
        return
    fi
    case $command in
        "") COMPREPLY=($(compgen -W "migrate check ps status cancel resolve version pki" -- "$current")) ;;
        pki) COMPREPLY=($(compgen -W "ca host" -- "$current")) ;;
        migrate | check) COMPREPLY=($(compgen -W "$(godwit ps -q 2>/dev/null)" -- "$current")) ;;
        status | cancel | resolve) COMPREPLY=($(compgen -W "$(godwit status -q 2>/dev/null)" -- "$current")) ;;
    esac
}

complete -F _godwit godwit
