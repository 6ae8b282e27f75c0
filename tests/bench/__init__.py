"""`make bench`: what hamkor costs, each figure beside what the machine allows and what others reach in the same run.

__main__   the command, and which rows there are          table     rows, medians, printing, JSON
local      append, admission, audit, commands, memory     limits    libsodium and LMDB alone
network    sync, incremental, idle, many logs, gossip     pump      the bare stream and the bare flood
auditing   the audit of a home and of a bundle            peers     hypercore, ssb-db2, OrbitDB, git
growth     the same work at a tenth and ten times         wire      what the kernel counts
pair       two nodes that meet and part                   work      the records
"""
