/* The kernel's share of a port: every frame goes to the socket of its queue while that queue's beat is fresh, and past us
 * otherwise.
 *
 * Each port loads the object once for itself. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The most receive queues of a port; beat.rs has the same number. */
#define QUEUES 64

/* What became of a frame: the indices of `counts`, which program.rs reads in this order. */
enum outcome { REDIRECTED, BYPASSED, STALE, NO_SOCKET, CLOSED, OUTCOMES };

/* Set by the loader; program.rs has the same structure. */
const volatile struct {
	/* How long a beat is fresh after it was first seen. */
	__u64 stale_ns;
	/* What isn't redirected is dropped, unless the port is bypassed. */
	__u32 closed;
} settings = {};

/* The beat of one queue, on a cache line of its own. */
struct queue {
	/* Written by user space: another number than before, and never zero. */
	volatile __u64 beat;
	/* Ours: the last beat that a frame met, and when the first did. */
	__u64 seen, at;
} __attribute__((aligned(64)));

/* Memory that user space has mapped; beat.rs has the same structure. */
struct {
	struct queue queues[QUEUES];
	/* Written by user space: no beat counts any more. */
	volatile __u32 muted;
} pulse;

/* The socket of each receive queue. The loader sets the real number of queues; a socket that closes takes itself out. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Not zero: the port is bypassed. A map of its own, because any process may find it by its name and write to it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bypass SEC(".maps");

/* Frames by outcome. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline int is_bypassed(void)
{
	__u32 zero = 0, *bypassed = bpf_map_lookup_elem(&bypass, &zero);

	return bypassed && *bypassed;
}

/* Whether somebody serves this queue. Two processors that run this for one queue at once write nearly the same. */
static __always_inline int is_fresh(__u32 index)
{
	struct queue *queue;
	__u64 beat, now;

	if (index >= QUEUES || pulse.muted)
		return 0;
	queue = &pulse.queues[index];
	beat = queue->beat;
	if (!beat)
		return 0;
	/* As fine as the kernel's tick, and no more than a look at memory. */
	now = bpf_ktime_get_coarse_ns();
	if (beat != queue->seen) {
		queue->seen = beat;
		queue->at = now;
		return 1;
	}
	return now - queue->at < settings.stale_ns;
}

/* The one place that decides about a frame. */
static __always_inline enum outcome verdict(struct xdp_md *frame)
{
	__u32 queue = frame->rx_queue_index;

	if (is_bypassed())
		return BYPASSED;
	if (!is_fresh(queue))
		return settings.closed ? CLOSED : STALE;
	if (bpf_redirect_map(&sockets, queue, 0) != XDP_REDIRECT)
		return settings.closed ? CLOSED : NO_SOCKET;
	return REDIRECTED;
}

/* The function's name is how a later run and `detach` know the program as ours. */
SEC("xdp")
int tidegate(struct xdp_md *frame)
{
	enum outcome outcome = verdict(frame);
	__u32 index = outcome;
	__u64 *count = bpf_map_lookup_elem(&counts, &index);

	if (count)
		*count += 1;
	return outcome == REDIRECTED ? XDP_REDIRECT : outcome == CLOSED ? XDP_DROP : XDP_PASS;
}

char tidegate_license[] SEC("license") = "Dual MIT/GPL";
