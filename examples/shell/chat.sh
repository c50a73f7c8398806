#!/bin/sh
# A chat client of mosquitto_pub, mosquitto_sub and POSIX sh:
#
#     ./chat.sh ann @bob        ann writes to bob, and sees all her conversations
#     ./chat.sh bob general     bob writes to the group general
#
# What you type is sent line by line. While you are away the server keeps your place: start it again, and
# what you missed is shown. Settings, from the environment: PETREL_HOST (127.0.0.1), PETREL_PORT (1883),
# PETREL_PASSWORD, PETREL_DEVICE (shell), a name for this device that no other device of yours has, and
# PETREL_STATE (~/.local/state/petrel-shell), where it is kept how far you have seen each conversation.
set -eu

if [ $# -ne 2 ]; then
	echo "usage: $0 USER CONVERSATION   (a group, or @ and a user)" >&2
	exit 2
fi
me=$1 to=$2
device=${PETREL_DEVICE:-shell}
case $to in
@*) topic=u/${to#@}/json ;;
*) topic=c/$to/json ;;
esac

umask 077
seen=${PETREL_STATE:-$HOME/.local/state/petrel-shell}/$me@$device
mkdir -p "$seen"
dir=$(mktemp -d)
receiver=''
leave() {
	[ -z "$receiver" ] || kill "$receiver" 2>/dev/null || :
	rm -rf "$dir"
}
trap leave EXIT
trap 'exit 1' HUP INT TERM

# The options of both programs go into files that only we can read: command lines are for all to see in ps.
for program in mosquitto_pub mosquitto_sub; do
	{
		printf '%s\n' "-h ${PETREL_HOST:-127.0.0.1}" "-p ${PETREL_PORT:-1883}" '-V mqttv5' "-u $me"
		[ -z "${PETREL_PASSWORD:-}" ] || printf '%s\n' "-P $PETREL_PASSWORD"
	} >"$dir/$program"
done
export XDG_CONFIG_HOME="$dir"

# again tells whether it helps to try again after a program ended with this status: below 128 there was no
# server, otherwise it is the reason code of a server that refused: not available (0x88), busy (0x89), over a quota
# (0x97), too many connections at once (0x9F), or something that waiting doesn't mend, like a wrong password.
again() {
	[ "$1" -lt 128 ] || case $1 in 136 | 137 | 151 | 159) ;; *) return 1 ;; esac
}

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# What others write may hold sequences that play with a terminal: control characters are shown as spaces, those
# of one byte and those of two bytes in UTF-8 (U+0080 to U+009F).
c1=$(printf '\302[\200-\237]')
plain() { printf '%s\n' "$1" | LC_ALL=C tr '\001-\011\013-\037\177' '[ *]' | LC_ALL=C sed "s/$c1/ /g"; }

# A JSON string may hold anything but quotes, backslashes and control characters.
quoted() { printf '%s' "$1" | LC_ALL=C tr '\001-\037\177' '[ *]' | sed 's/[\\"]/\\&/g'; }

# Receiving. -c and a client id of its own make a session that the server keeps: with QoS 1 everything that is said
# while nobody listens here comes as soon as somebody does. A message may have several lines, and a line may look like
# the beginning of another message, so each message begins with a mark that nobody else knows. The server is asked to
# send the seq with each.
mark=$(random)
listen() {
	exec mosquitto_sub -c -i "$device" -q 1 -t 'c/+/text/+' -D subscribe user-property meta seq -F "$mark %P %t %p" "$@"
}
run() { # in the background, so that a signal doesn't have to wait for its end
	"$@" &
	child=$!
	wait "$child"
}
receive() {
	child=''
	trap 'kill "$child" 2>/dev/null || :; exit' TERM
	while :; do
		status=0
		run listen -E || status=$? # ends when the subscription is there
		if [ "$status" -eq 0 ]; then
			echo "(listening)" >&2
			run listen || status=$? # connects again by itself, from the second time on
		fi
		if ! again "$status"; then
			kill -TERM $$
			exit
		fi
		run sleep 2
	done
}

# new tells whether we have not seen message $2 of conversation $1. QoS 1 means at least once: after a crash of the
# server, what came in its last second may come again. In a conversation seq only grows, so one number is enough.
new() {
	last=''
	[ ! -e "$seen/$1" ] || read -r last <"$seen/$1" || :
	[ "$2" -gt "${last:-0}" ] && echo "$2" >"$seen/$1"
}

# show prints what came. A line without the mark goes on with the message before.
show() {
	hidden=yes
	while IFS= read -r line; do
		case $line in
		"$mark seq:"*) # then the seq, the topic c/CONVERSATION/text/FROM, and the text
			line=${line#"$mark seq:"}
			seq=${line%% *} line=${line#* }
			from=${line%% *} line=${line#* }
			conv=${from#c/} conv=${conv%%/*} from=${from##*/}
			hidden=''
			if new "$conv" "$seq" && [ "$from" != "$me" ]; then plain "$conv $from: $line"; else hidden=yes; fi
			;;
		*) [ -n "$hidden" ] || plain "    $line" ;;
		esac
	done
}

mkfifo "$dir/received"
receive >"$dir/received" &
receiver=$!
show <"$dir/received" &

# Sending. A message is sent until the server has it: PUBACK means that it is on disk. Its id makes sure that trying
# again makes no second message. What mosquitto_pub says although it succeeded is a refusal, with the reason.
while IFS= read -r line; do
	[ -n "$line" ] || continue
	event="{\"id\":\"$(random)\",\"text\":\"$(quoted "$line")\"}"
	waited=''
	while :; do
		status=0
		said=$(printf '%s' "$event" | mosquitto_pub -i "$device-out" -q 1 -t "$topic" -s 2>&1) || status=$?
		[ "$status" -ne 0 ] || break
		if ! again "$status"; then
			plain "$said" >&2
			exit 1
		fi
		[ -n "$waited" ] || echo "(no server: the message waits)" >&2
		waited=yes
		sleep 2
	done
	[ -z "$said" ] || plain "not sent: $said" >&2
done
