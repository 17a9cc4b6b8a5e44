/*
 * One end of the network tests: a static program for the guest, and the same for the host.
 * - serve PORT: TCP, IPv4 and IPv6; one connection after the other does what its first line says
 * - send HOST PORT SEED BYTES: a stream made of SEED, which the server compares with its own;
 *   prints what it says
 * - fetch HOST PORT SEED BYTES: the same from the server; prints "ok" or where it differs
 * - echo PORT: UDP datagrams go back to where they come from
 * - ask HOST PORT TEXT: a datagram, and what comes back
 * - frames INTERFACE: numbers of the frames that tests/guest/wire.py sends, up to the last one
 * - pairs INTERFACE N: so many queue pairs are in use
 * - counters INTERFACE: what the driver counts
 * - join INTERFACE KIND [MAC...]: holds memberships (multicast, unicast, allmulti or promisc) until
 *   it is killed
 */
#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PIECE = 1 << 18,
    ETHERTYPE = 0x88b5, /* IEEE 802: for local experiments */
    LAST = 0xffff
};
static uint64_t ours[PIECE / 8], theirs[PIECE / 8];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Words of the stream from the at-th byte on. */
static void fill(uint64_t seed, uint64_t at)
{
    for (size_t i = 0; i < PIECE / 8; i++) {
        uint64_t x = (seed + at / 8 + i) * 0x9e3779b97f4a7c15u;

        ours[i] = x ^ x >> 29;
    }
}

static void write_all(int fd, const void *data, size_t n)
{
    const char *p = data;

    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

        if (k <= 0) {
            die("send");
        }
        p += k;
        n -= k;
    }
}

/* How much there is up to the end. A process that was stopped meanwhile gets less than it asks for.
 */
static size_t read_all(int fd, void *to, size_t want)
{
    size_t n = 0;

    for (ssize_t k; n < want && (k = recv(fd, (char *)to + n, want - n, 0)) > 0;) {
        n += k;
    }
    return n;
}

static void give(int fd, uint64_t seed, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += PIECE) {
        fill(seed, at);
        write_all(fd, ours, bytes - at < PIECE ? bytes - at : PIECE);
    }
}

/* The answer: whether what comes is the stream. */
static const char *take(int fd, uint64_t seed, uint64_t bytes)
{
    static char text[64];

    for (uint64_t at = 0; at < bytes; at += PIECE) {
        size_t want = bytes - at < PIECE ? bytes - at : PIECE;
        size_t n = read_all(fd, theirs, want);

        fill(seed, at);
        if (n != want || memcmp(ours, theirs, want) != 0) {
            snprintf(text, sizeof text, "bad: %zu bytes at %llu\n", n, (unsigned long long)at);
            return text;
        }
    }
    return "ok\n";
}

static void serve_one(int fd)
{
    char line[64] = "", op = 0;
    unsigned long long seed = 0, bytes = 0;

    for (size_t n = 0; n < sizeof line - 1 && (!n || line[n - 1] != '\n');) {
        if (recv(fd, line + n, 1, 0) != 1) {
            return;
        }
        n++;
    }
    if (sscanf(line, "%c %llu %llu", &op, &seed, &bytes) != 3) {
        return;
    }
    if (op == 'S') {
        const char *said = take(fd, seed, bytes);

        write_all(fd, said, strlen(said));
    } else {
        give(fd, seed, bytes);
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, line, sizeof line, 0) > 0) {
    }
}

static void serve(unsigned port)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    int l = socket(AF_INET6, SOCK_STREAM, 0), on = 1;

    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (l < 0 || bind(l, (struct sockaddr *)&a, sizeof a) < 0 || listen(l, 64) < 0) {
        die("listen");
    }
    puts("serving");
    fflush(stdout);
    for (;;) {
        int fd = accept(l, NULL, NULL);

        if (fd >= 0 && !fork()) {
            serve_one(fd);
            _exit(0);
        }
        close(fd);
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}

static int dial(const char *host, const char *port, int type)
{
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
    bool six = inet_pton(AF_INET6, host, &a6.sin6_addr) == 1;
    int fd = socket(six ? AF_INET6 : AF_INET, type, 0);

    if (!six && inet_pton(AF_INET, host, &a4.sin_addr) != 1) {
        fprintf(stderr, "no address: %s\n", host);
        exit(1);
    }
    if (connect(fd, six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4,
            six ? sizeof a6 : sizeof a4) < 0) {
        die("connect");
    }
    return fd;
}

static void client(char op, char **v)
{
    char line[64];
    int fd = dial(v[0], v[1], SOCK_STREAM);
    uint64_t seed = strtoull(v[2], NULL, 0), bytes = strtoull(v[3], NULL, 0);

    snprintf(line, sizeof line, "%c %llu %llu\n", op, (unsigned long long)seed,
        (unsigned long long)bytes);
    write_all(fd, line, strlen(line));
    if (op == 'S') {
        give(fd, seed, bytes);
        printf("%.*s", (int)read_all(fd, line, sizeof line), line);
    } else {
        printf("%s", take(fd, seed, bytes));
    }
}

static void echo(unsigned port)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) }, from;
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        die("bind");
    }
    for (;;) {
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(fd, ours, sizeof ours, 0, (struct sockaddr *)&from, &len);

        if (n >= 0) {
            sendto(fd, ours, n, 0, (struct sockaddr *)&from, len);
        }
    }
}

static void ask(const char *host, const char *port, const char *text)
{
    int fd = dial(host, port, SOCK_DGRAM);
    struct timeval second = { .tv_sec = 1 };
    ssize_t n = -1;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    for (int i = 0; i < 20 && n < 0; i++) { /* a datagram may be lost */
        send(fd, text, strlen(text), 0);
        n = recv(fd, theirs, sizeof theirs, 0);
    }
    printf("%.*s\n", n > 0 ? (int)n : 0, (char *)theirs);
}

static int packets(const char *interface, int *ret_index)
{
    int fd = socket(AF_PACKET, SOCK_DGRAM, htons(0x0003)); /* all protocols */
    struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(0x0003) };

    a.sll_ifindex = *ret_index = if_nametoindex(interface);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        die(interface);
    }
    return fd;
}

static void frames(const char *interface)
{
    int index, fd = packets(interface, &index);
    uint16_t number = 0;

    puts("watching");
    fflush(stdout);
    while (number != LAST) {
        struct sockaddr_ll from;
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(fd, theirs, sizeof theirs, 0, (struct sockaddr *)&from, &len);

        if (n >= 2 && ntohs(from.sll_protocol) == ETHERTYPE) {
            memcpy(&number, theirs, 2);
            number = ntohs(number);
            printf("frame %u of %zd bytes\n", number, n);
        }
    }
}

static void join(int n, char **v)
{
    struct packet_mreq m = { .mr_alen = 6 };
    int fd = packets(v[0], &m.mr_ifindex);

    m.mr_type = !strcmp(v[1], "promisc")    ? PACKET_MR_PROMISC
                : !strcmp(v[1], "allmulti") ? PACKET_MR_ALLMULTI
                : !strcmp(v[1], "unicast")  ? PACKET_MR_UNICAST
                                            : PACKET_MR_MULTICAST;
    sscanf(v[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m.mr_address, m.mr_address + 1, m.mr_address + 2,
        m.mr_address + 3, m.mr_address + 4, m.mr_address + 5);
    for (int count = n > 3 ? atoi(v[3]) : 1; count > 0; count--, m.mr_address[5]++) {
        if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m) < 0) {
            die("membership");
        }
    }
    puts("joined");
    fflush(stdout);
    pause();
}

/* ethtool(8)'s work: one command to a card's driver. */
static void ethtool(const char *name, void *command)
{
    struct ifreq r = { .ifr_data = command };

    strncpy(r.ifr_name, name, sizeof r.ifr_name - 1);
    if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCETHTOOL, &r)) {
        perror("SIOCETHTOOL");
        exit(1);
    }
}

static void pairs(const char *name, unsigned n)
{
    ethtool(name, &(struct ethtool_channels){ .cmd = ETHTOOL_SCHANNELS, .combined_count = n });
}

static void counters(const char *name)
{
    struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };

    ethtool(name, &info);
    struct ethtool_gstrings *names = calloc(1, sizeof *names + info.n_stats * ETH_GSTRING_LEN);
    struct ethtool_stats *values =
        calloc(1, sizeof *values + info.n_stats * sizeof values->data[0]);

    if (!names || !values) {
        die("memory");
    }
    *names = (struct ethtool_gstrings){
        .cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_STATS, .len = info.n_stats
    };
    *values = (struct ethtool_stats){ .cmd = ETHTOOL_GSTATS, .n_stats = info.n_stats };
    ethtool(name, names);
    ethtool(name, values);
    for (unsigned i = 0; i < info.n_stats; i++) {
        printf("%.*s %llu\n", ETH_GSTRING_LEN, (const char *)names->data + i * ETH_GSTRING_LEN,
            (unsigned long long)values->data[i]);
    }
}

int main(int n, char **v)
{
    const char *what = n > 1 ? v[1] : "";

    if (!strcmp(what, "serve") && n == 3) {
        serve(atoi(v[2]));
    } else if ((!strcmp(what, "send") || !strcmp(what, "fetch")) && n == 6) {
        client(*what == 's' ? 'S' : 'F', v + 2);
    } else if (!strcmp(what, "echo") && n == 3) {
        echo(atoi(v[2]));
    } else if (!strcmp(what, "ask") && n == 5) {
        ask(v[2], v[3], v[4]);
    } else if (!strcmp(what, "frames") && n == 3) {
        frames(v[2]);
    } else if (!strcmp(what, "pairs") && n == 4) {
        pairs(v[2], (unsigned)atoi(v[3]));
    } else if (!strcmp(what, "counters") && n == 3) {
        counters(v[2]);
    } else if (!strcmp(what, "join") && n >= 5) {
        join(n - 2, v + 2);
    } else {
        fputs("net-peer: see the source\n", stderr);
        return 2;
    }
    return 0;
}
