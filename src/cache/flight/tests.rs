use super::*;
use crate::cache::tests::{entry, fingerprint};

const LONG: Duration = Duration::from_secs(30);

fn leader(flights: &Arc<Flights>) -> Leader {
    match flights.join(fingerprint(1)) {
        Flight::Leader(leader) => leader,
        Flight::Follower(_) => panic!("somebody leads already"),
    }
}

fn follower(flights: &Arc<Flights>) -> Follower {
    match flights.join(fingerprint(1)) {
        Flight::Follower(follower) => follower,
        Flight::Leader(_) => panic!("nobody leads"),
    }
}

#[tokio::test]
async fn all_who_ask_the_same_get_the_leaders_answer() {
    let flights = Arc::new(Flights::default());
    let leader = leader(&flights);
    let followers: Vec<_> = (0..50).map(|_| follower(&flights)).collect();
    assert!(matches!(flights.join(fingerprint(2)), Flight::Leader(_)), "another question has its own leader");
    let answer = Arc::new(entry());
    leader.publish(&answer);
    for follower in followers {
        assert!(matches!(follower.wait(LONG).await, Joined::Answer(given) if Arc::ptr_eq(&given, &answer)));
    }
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn a_leader_that_fails_is_followed_by_exactly_one() {
    let flights = Arc::new(Flights::default());
    let first = leader(&flights);
    let (second, third) = (follower(&flights), follower(&flights));
    drop(first);
    let Joined::Leader(second) = second.wait(LONG).await else { panic!("the one who waited longest leads") };
    let fourth = follower(&flights);
    let mut third = Box::pin(third.wait(LONG));
    assert!(futures_util::poll!(&mut third).is_pending(), "nobody else does");
    second.publish(&Arc::new(entry()));
    assert!(matches!(third.await, Joined::Answer(_)));
    assert!(matches!(fourth.wait(LONG).await, Joined::Answer(_)));
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn followers_who_have_left_are_passed_over() {
    let flights = Arc::new(Flights::default());
    let first = leader(&flights);
    let (gone, stays) = (follower(&flights), follower(&flights));
    drop(gone);
    drop(first);
    assert!(matches!(stays.wait(LONG).await, Joined::Leader(_)));
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn a_follower_who_leaves_with_the_right_to_lead_in_hand_hands_it_on() {
    let flights = Arc::new(Flights::default());
    let first = leader(&flights);
    let (chosen, next) = (follower(&flights), follower(&flights));
    drop(first);
    // The right has been sent, but was never looked at.
    drop(chosen);
    let Joined::Leader(second) = next.wait(LONG).await else { panic!("the right was lost") };
    drop(second);
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn nobody_waits_longer_than_they_want_to() {
    let flights = Arc::new(Flights::default());
    let leader = leader(&flights);
    assert!(matches!(follower(&flights).wait(Duration::from_millis(1)).await, Joined::Alone));
    leader.publish(&Arc::new(entry()));
}

#[tokio::test]
async fn an_answer_that_cannot_be_shared_sends_everybody_on_their_own_way() {
    let flights = Arc::new(Flights::default());
    let leader = leader(&flights);
    let followers: Vec<_> = (0..5).map(|_| follower(&flights)).collect();
    leader.disperse();
    for follower in followers {
        assert!(matches!(follower.wait(LONG).await, Joined::Alone));
    }
    assert_eq!(flights.len(), 0);
}

#[test]
fn those_who_have_left_do_not_pile_up() {
    let flights = Arc::new(Flights::default());
    let leader = leader(&flights);
    for _ in 0..10_000 {
        drop(follower(&flights));
    }
    assert!(flights.shard(fingerprint(1))[&fingerprint(1)].capacity() < 10);
    drop(leader);
    assert_eq!(flights.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_leads_at_a_time_and_all_end() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let flights = Arc::new(Flights::default());
    let (leading, led) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks = crate::runtime::Tasks::default();
    let mut running = Vec::new();
    for number in 0..50 {
        let (flights, leading, led) = (Arc::clone(&flights), Arc::clone(&leading), Arc::clone(&led));
        running.push(tasks.spawn(async move {
            let leader = match flights.join(fingerprint(1)) {
                Flight::Leader(leader) => leader,
                // Some have no patience at all.
                Flight::Follower(follower) if number % 7 == 0 => {
                    drop(follower);
                    return;
                }
                Flight::Follower(follower) => match follower.wait(LONG).await {
                    Joined::Answer(_) => return,
                    Joined::Leader(leader) => leader,
                    Joined::Alone => panic!("a follower was forgotten"),
                },
            };
            assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead at once");
            tokio::task::yield_now().await;
            let before = led.fetch_add(1, Ordering::SeqCst);
            leading.fetch_sub(1, Ordering::SeqCst);
            // Some fail, one has an answer.
            if before >= 5 {
                leader.publish(&Arc::new(entry()));
            }
        }));
    }
    for task in running {
        task.await.unwrap();
    }
    assert_eq!(flights.len(), 0);
}
