// Pushes an 802.1Q tag on everything that leaves a host and pops it from everything that comes in (clsact, direct action).
// Helper numbers: enum bpf_func_id in linux/bpf.h.

struct __sk_buff;

static long (*const bpf_skb_vlan_push)(struct __sk_buff *frame, unsigned short protocol_be, unsigned short tci) = (void *)18;
static long (*const bpf_skb_vlan_pop)(struct __sk_buff *frame) = (void *)19;

enum { TC_ACT_OK = 0, TC_ACT_SHOT = 2, ETH_P_8021Q_BE = 0x0081 };

__attribute__((section("tc/push"), used)) int push(struct __sk_buff *frame)
{
    return bpf_skb_vlan_push(frame, ETH_P_8021Q_BE, VLAN_ID) ? TC_ACT_SHOT : TC_ACT_OK;
}

// The pop helper leaves an untagged frame as it is.
__attribute__((section("tc/pop"), used)) int pop(struct __sk_buff *frame)
{
    return bpf_skb_vlan_pop(frame) ? TC_ACT_SHOT : TC_ACT_OK;
}

__attribute__((section("license"), used)) char terms[] = "Dual MIT/GPL";
