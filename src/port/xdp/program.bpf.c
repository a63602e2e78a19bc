/* The kernel's share of a port: every frame goes to the socket of its queue, or past us if there is none.
 *
 * The object holds no state of its own but its two maps; each port loads it once for itself. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Indices of `counts`; program.rs reads them in this order. */
enum { REDIRECTED, PASSED, COUNTS };

/* The socket of each receive queue. The loader sets the real number of queues; a socket that closes takes itself out. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Frames by what became of them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* The one place that decides about a frame. */
static __always_inline int verdict(struct xdp_md *frame)
{
	return bpf_redirect_map(&sockets, frame->rx_queue_index, XDP_PASS);
}

/* The function's name is how a later run and `detach` know the program as ours. */
SEC("xdp")
int tidegate(struct xdp_md *frame)
{
	int action = verdict(frame);
	__u32 index = action == XDP_REDIRECT ? REDIRECTED : PASSED;
	__u64 *count = bpf_map_lookup_elem(&counts, &index);

	if (count)
		*count += 1;
	return action;
}

char tidegate_license[] SEC("license") = "Dual MIT/GPL";
